import { exportJWK, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { manualClock } from './internal/test-servers.js'
import { type RemoteJwksOptions, remoteJwks } from './jwks.js'

const url = 'http://user-service/.well-known/jwks.json'

async function key(kid: string) {
  const { publicKey } = await generateKeyPair('ES256', { extractable: true })

  return { ...(await exportJWK(publicKey)), kid, alg: 'ES256' }
}

/** An issuer in memory, and the keys it gives. */
async function issuer(options: Partial<RemoteJwksOptions> = {}) {
  const clock = manualClock()
  const state = { keys: [await key('k1')] as object[], asked: 0, down: false }
  const source = remoteJwks(url, {
    clock,
    fetch: async () => {
      state.asked += 1
      if (state.down) throw new TypeError('fetch failed')
      return new Response(JSON.stringify({ keys: state.keys }))
    },
    ...options,
  })
  const find = (kid: string) => source({ alg: 'ES256', kid })

  return { clock, state, source, find }
}

describe('remoteJwks', () => {
  test('asks when it is first needed, once for all who wait', async () => {
    const { state, find } = await issuer()
    expect(state.asked).toBe(0)

    await Promise.all([find('k1'), find('k1'), find('k1')])

    expect(state.asked).toBe(1)
  })

  test('asks once per cooldown for a key it does not know', async () => {
    const { state, find, clock } = await issuer({ cooldown: 30_000 })
    await find('k1')
    clock.advance(30_000)

    for (let time = 0; time < 5; time += 1)
      await expect(find(`random-${time}`)).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' })

    expect(state.asked).toBe(2)
  })

  test('finds a key that was added since', async () => {
    const { state, find, clock, source } = await issuer()
    await find('k1')
    const before = source.version
    state.keys.push(await key('k2'))
    clock.advance(30_000)

    await expect(find('k2')).resolves.toBeDefined()
    expect(source.version).not.toBe(before)
  })

  test('refreshes in the background before the keys are old', async () => {
    const { state, find, clock } = await issuer({ maxAge: 600_000 })
    await find('k1')
    clock.advance(479_999)
    await find('k1')
    expect(state.asked).toBe(1)

    clock.advance(1)
    await find('k1')
    expect(state.asked).toBe(2)
  })

  test('lives on old keys while the issuer is away, and not for ever', async () => {
    const { state, find, clock } = await issuer({ maxAge: 600_000, staleIfError: 3_600_000 })
    await find('k1')
    state.down = true

    clock.advance(3_600_000)
    await expect(find('k1')).resolves.toBeDefined()

    clock.advance(600_000)
    await expect(find('k1')).rejects.toMatchObject({ code: 'MSX_AUTH_KEYS_UNAVAILABLE', status: 503 })
  })

  test('does not let an issuer that is away be asked by every request', async () => {
    const { state, find, clock } = await issuer()
    state.down = true

    for (let time = 0; time < 5; time += 1)
      await expect(find('k1')).rejects.toMatchObject({ code: 'MSX_AUTH_KEYS_UNAVAILABLE' })
    expect(state.asked).toBe(1)

    state.down = false
    clock.advance(250)
    await expect(find('k1')).resolves.toBeDefined()
  })

  test('says 503, not 401, when the issuer does not answer about an unknown key', async () => {
    const { state, find, clock } = await issuer()
    await find('k1')
    state.down = true
    clock.advance(30_000)

    await expect(find('k2')).rejects.toMatchObject({ code: 'MSX_AUTH_KEYS_UNAVAILABLE' })
  })

  test.each([
    ['an error', new Response('', { status: 500 })],
    ['no JSON', new Response('<html>')],
    ['no keys', new Response('{}')],
    ['keys that are none', new Response('{"keys":[1]}')],
  ])('an issuer that sends %s has no keys', async (_, response) => {
    const { find } = await issuer({ fetch: async () => response })

    await expect(find('k1')).rejects.toMatchObject({ code: 'MSX_AUTH_KEYS_UNAVAILABLE', cause: expect.any(Error) })
  })

  test.each<[RemoteJwksOptions, string]>([
    [{ maxAge: -1 }, 'maxAge must be'],
    [{ cooldown: Number.POSITIVE_INFINITY }, 'cooldown must be'],
    [{ fetch: 1 as never }, 'fetch must be a function'],
  ])('refuses the options %j', (options, message) => {
    expect(() => remoteJwks(url, options)).toThrow(message)
  })
})
