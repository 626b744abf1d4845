import { afterAll, describe, expect, it, vi } from 'vitest'
import { consul } from '../consul.js'
import { createDiscovery } from '../discovery.js'
import { consulProgram, OwnConsul } from './test-consul.js'

const program = consulProgram()
const ROOT = 'b1gs33cr3t-root'
const own = program === undefined ? undefined : await OwnConsul.start(program, ROOT)
afterAll(() => own?.close())

describe.skipIf(own === undefined)('a Consul that allows nothing by default', () => {
  const url = own?.url ?? ''

  /** A token that may do this. */
  async function tokenFor(rules: string): Promise<string> {
    const put = async (path: string, body: object) => {
      const response = await fetch(`${url}/v1/acl/${path}`, {
        method: 'PUT',
        headers: { 'x-consul-token': ROOT },
        body: JSON.stringify(body),
      })
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return (await response.json()) as { ID: string; SecretID: string }
    }
    // Consul has a leader for a while before it has ACLs.
    const policy = await vi.waitFor(
      () => put('policy', { Name: `p${Math.random().toString(36).slice(2)}`, Rules: rules }),
      { timeout: 10_000, interval: 100 },
    )
    return (await put('token', { Policies: [{ ID: policy.ID }] })).SecretID
  }

  const READ = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'

  it('is read and written with a token that a function gives, asked anew each time', async () => {
    const writer = await tokenFor('service_prefix "" { policy = "write" }')
    const reader = await tokenFor(READ)
    const token = vi.fn(async () => reader)
    const registered = await consul({ url, token: () => writer }).register({ name: 'web', host: '127.0.0.1', port: 1 })
    const discovery = createDiscovery({ source: consul({ url, token, wait: 200 }) })

    expect((await discovery.service('web').ready()).endpoints).toMatchObject([{ port: 1 }])
    await vi.waitFor(() => expect(token.mock.calls.length).toBeGreaterThan(2))

    await discovery.close()
    await registered.deregister()
  })

  it('is not believed when it lists nobody to a token that may not read: ready() says what is missing', async () => {
    const discovery = createDiscovery({
      source: consul({ url, token: await tokenFor('agent_prefix "" { policy = "read" }') }),
    })

    await expect(discovery.service('web').ready()).rejects.toMatchObject({
      code: 'MSX_NO_ENDPOINTS',
      message: expect.stringMatching(/ACL .*"web".*service:read/),
      cause: { code: 'MSX_REGISTRY', status: 403 },
    })
    await discovery.close()
  })

  it('takes no endpoint away when the token loses its permission, and is heard again with another', async () => {
    const writer = consul({ url, token: ROOT })
    const registered = await writer.register({ name: 'api', host: '127.0.0.1', port: 2 })
    const [reader, nobody] = [await tokenFor(READ), await tokenFor('')]
    let token = reader
    const discovery = createDiscovery({ source: consul({ url, token: () => token, wait: 100 }), emptyGrace: 0 })
    const api = discovery.service('api')
    await api.ready()

    token = nobody
    await vi.waitFor(() => expect(api.snapshot.stale).toBe(true), 5_000)
    expect(api.snapshot.endpoints).toHaveLength(1)
    expect(api.snapshot.error).toMatchObject({ status: 403 })

    token = reader
    await vi.waitFor(() => expect(api.snapshot.stale).toBe(false), 15_000)
    await discovery.close()
    await registered.deregister()
  }, 30_000)

  it('may list nobody of a service that there is not: then nobody is there', async () => {
    const discovery = createDiscovery({ source: consul({ url, token: await tokenFor(READ) }) })

    expect((await discovery.service('nobody').ready()).endpoints).toEqual([])
    await discovery.close()
  })

  it.each([
    ['throws', () => Promise.reject(new Error('vault away')), /vault away/],
    ['returns nothing', () => '' as string, /token must be/],
    ['returns what no header can have', () => 'a\nb', /token must be/],
  ])('is a failure of the source when the function %s', async (_, token, message) => {
    const discovery = createDiscovery({ source: consul({ url, token }) })

    await expect(discovery.service('web').ready()).rejects.toThrow(message)
    await discovery.close()
  })
})
