import type { IncomingMessage } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createLocalJWKSet, errors, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { describe, expect, test, vi } from 'vitest'
import { authenticate } from './authenticate.js'
import type { Claims, Verify } from './claims.js'
import { serve, signalled, startUpstream } from './internal/test-servers.js'
import { type JwtVerifierOptions, jwtVerifier, remoteJwks } from './jwt.js'

const request = {} as never
const now = () => Date.now()

async function issuer(kid = 'k1', alg = 'ES256') {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' }
  const sign = (claims: JWTPayload = {}, header: Record<string, unknown> = {}) =>
    new SignJWT({ iss: 'https://id.example', aud: 'shop', sub: 'u1', exp: now() / 1_000 + 60, ...claims })
      .setProtectedHeader({ alg, kid, ...header } as { alg: string })
      .sign(privateKey)

  return { jwk, sign, keys: { keys: [jwk] } }
}

function verifier(keys: { keys: object[] }, options: Partial<JwtVerifierOptions> = {}) {
  const jwks = createLocalJWKSet(keys as never)

  return jwtVerifier({ issuer: 'https://id.example', audience: 'shop', algorithms: ['ES256'], jwks, ...options })
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

describe('jwtVerifier', () => {
  test('gives the claims of a valid token', async () => {
    const { sign, keys } = await issuer()

    expect(await verifier(keys)(await sign({ role: 'buyer' }), request)).toMatchObject({ sub: 'u1', role: 'buyer' })
  })

  test('gives claims that nobody can change for those who come later with the same token', async () => {
    const { sign, keys } = await issuer()
    const verify = verifier(keys)
    const token = await sign({ roles: ['buyer'] })
    const first = (await verify(token, request)) as { role?: string; roles: string[] }

    expect(() => first.roles.push('admin')).toThrow(TypeError)
    expect(() => Object.assign(first, { role: 'admin' })).toThrow(TypeError)
    expect(await verify(token, request)).not.toHaveProperty('role')
  })

  test.each<[string, JWTPayload]>([
    ['another issuer', { iss: 'https://evil.example' }],
    ['another audience', { aud: 'bank' }],
    ['no audience', { aud: undefined } as never],
    ['an exp that is over', { exp: now() / 1_000 - 10 }],
    ['no exp', { exp: undefined } as never],
    ['an nbf that is to come', { nbf: now() / 1_000 + 60 }],
  ])('refuses a token with %s', async (_, claims) => {
    const { sign, keys } = await issuer()

    await expect(verifier(keys)(await sign(claims), request)).rejects.toMatchObject({
      code: 'MSX_AUTH_INVALID_TOKEN',
      status: 401,
    })
  })

  test('refuses what is not signed, whatever it calls itself', async () => {
    const { keys } = await issuer()
    const payload = base64({ iss: 'https://id.example', aud: 'shop', sub: 'admin', exp: now() / 1_000 + 60 })

    for (const alg of ['none', 'None', 'NONE', 'ES256']) {
      await expect(verifier(keys)(`${base64({ alg, kid: 'k1' })}.${payload}.`, request)).rejects.toMatchObject({
        status: 401,
      })
    }
  })

  test('refuses a token that is signed with the public key as a shared secret', async () => {
    const { keys, jwk } = await issuer()
    const token = await new SignJWT({ iss: 'https://id.example', aud: 'shop', exp: now() / 1_000 + 60 })
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(new TextEncoder().encode(JSON.stringify(jwk).padEnd(32)))

    await expect(verifier(keys)(token, request)).rejects.toMatchObject({ status: 401 })
  })

  test.each<[string, Record<string, unknown>]>([
    ['brings its own key', { jwk: 'own' }],
    ['says where its key is', { jku: 'http://127.0.0.1:1/keys', x5u: 'http://127.0.0.1:1/cert' }],
    ['has a path for a key id', { kid: '../../../../dev/null' }],
    ['has a query for a key id', { kid: "' or 1=1 --" }],
    ['has an object for a key id', { kid: { toString: 'k1' } }],
    ['has a prototype for a key id', { kid: '__proto__' }],
    ['is critical of what nobody knows', { crit: ['exp2'], exp2: 1, kid: 'k1' }],
  ])('refuses a token that %s', async (_, header) => {
    const { keys } = await issuer()
    const stranger = await issuer('other')
    const signed = await stranger.sign({}, header['jwk'] === undefined ? {} : { jwk: stranger.jwk })
    const [, payload, signature] = signed.split('.')
    const forged =
      header['jwk'] === undefined ? `${base64({ alg: 'ES256', ...header })}.${payload}.${signature}` : signed

    await expect(verifier(keys)(forged, request)).rejects.toMatchObject({ status: 401 })
  })

  test('remembers no token that it refused, however many come', async () => {
    const { keys } = await issuer()
    const stranger = await issuer('k1')
    const jwks = vi.fn(createLocalJWKSet(keys as never))
    const verify = verifier(keys, { jwks: jwks as never })
    const token = await stranger.sign()

    for (let time = 0; time < 3; time += 1) await expect(verify(token, request)).rejects.toMatchObject({ status: 401 })

    expect(jwks).toHaveBeenCalledTimes(3)
  })

  test('refuses an algorithm that is not on the list, though the key would fit', async () => {
    const { keys, sign } = await issuer('k1', 'ES384')

    await expect(verifier(keys)(await sign(), request)).rejects.toThrow('not allowed')
  })

  test('refuses a token of another key, a changed one, and nonsense', async () => {
    const { keys, sign } = await issuer()
    const other = await issuer()
    const [head, , signature] = (await sign()).split('.')
    const changed = `${head}.${base64({ iss: 'https://id.example', aud: 'shop', sub: 'admin', exp: now() / 1_000 + 60 })}.${signature}`

    for (const token of [await other.sign(), changed, 'nonsense', 'a.b.c', '']) {
      await expect(verifier(keys)(token, request)).rejects.toMatchObject({ status: 401 })
    }
  })

  test('looks at typ when told to', async () => {
    const { keys, sign } = await issuer()
    const verify = verifier(keys, { typ: 'at+jwt' })

    await expect(verify(await sign({}, { typ: 'JWT' }), request)).rejects.toMatchObject({ status: 401 })
    expect(await verify(await sign({}, { typ: 'at+jwt' }), request)).toMatchObject({ sub: 'u1' })
  })

  test('answers at once for a token it has just seen, until that is over or its time is up', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const find = vi.fn(createLocalJWKSet(keys as never))
    const verify = verifier(keys, { jwks: find, now: () => time, cache: { ttl: 60_000 }, clockTolerance: 0 })
    const token = await sign({ exp: Math.floor(time / 1_000) + 30 })

    await verify(token, request)
    expect(verify(token, request)).toMatchObject({ sub: 'u1' })
    expect(find).toHaveBeenCalledTimes(1)

    time += 31_000
    await expect(verify(token, request)).rejects.toThrow('expired')
  })

  test('looks into a token once for all who come with it at the same time', async () => {
    const { keys, sign } = await issuer()
    const jwks = vi.fn(createLocalJWKSet(keys as never))
    const verify = verifier(keys, { jwks: jwks as never })
    const token = await sign()

    const claims = await Promise.all([verify(token, request), verify(token, request), verify(token, request)])
    expect(claims.map(({ sub }) => sub)).toEqual(['u1', 'u1', 'u1'])
    expect(jwks).toHaveBeenCalledTimes(1)
  })

  test('refuses all who wait for keys with a token that expires before they come', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const find = createLocalJWKSet(keys as never)
    const asked = signalled()
    const there = signalled()
    const verify = verifier(keys, {
      jwks: async (header: never) => {
        asked.fire()
        await there.promise
        return find(header)
      },
      now: () => time,
      clockTolerance: 0,
    } as never)
    const token = await sign({ exp: Math.floor(time / 1_000) + 30 })

    const first = verify(token, request) as Promise<Claims>
    await asked.promise
    const second = verify(token, request) as Promise<Claims>
    const outcomes = Promise.allSettled([first, second])
    time += 31_000
    there.fire()

    expect(await outcomes).toMatchObject([{ reason: { status: 401 } }, { reason: { status: 401 } }])
  })

  test('looks again at a token that is in use before its time is up, while nobody waits', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const find = vi.fn(createLocalJWKSet(keys as never))
    const clock = vi.fn(() => time)
    const verify = verifier(keys, { jwks: find, now: clock, cache: { ttl: 60_000 } })
    const token = await sign({ exp: Math.floor(time / 1_000) + 3_600 })
    const connection = { socket: {} } as IncomingMessage
    await verify(token, connection)

    for (let minute = 1; minute < 4; minute += 1) {
      time += 44_000
      expect(verify(token, connection)).toMatchObject({ sub: 'u1' })
      expect(find).toHaveBeenCalledTimes(minute)

      clock.mockClear()
      time += 2_000
      for (let come = 0; come < 3; come += 1) expect(verify(token, connection)).toMatchObject({ sub: 'u1' })
      // Once for each who came, and twice when key and signature have been looked at.
      await expect.poll(() => clock.mock.calls.length).toBeGreaterThanOrEqual(5)
      await nextTurn()
      expect(find).toHaveBeenCalledTimes(minute + 1)
      clock.mockClear()
    }
  })

  test('tells whoever comes afterwards, when looking again has failed', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const find = createLocalJWKSet(keys as never)
    let broken = false
    const jwks = vi.fn((header: never) => (broken ? Promise.reject(new Error('down')) : find(header)))
    const verify = verifier(keys, { jwks: jwks as never, now: () => time, cache: { ttl: 60_000 } })
    const token = await sign()
    await verify(token, request)

    broken = true
    time += 50_000
    expect(verify(token, request)).toMatchObject({ sub: 'u1' })
    await nextTurn()
    time += 9_000
    expect(verify(token, request)).toMatchObject({ sub: 'u1' })
    expect(jwks).toHaveBeenCalledTimes(2)
    time += 2_000
    await expect(verify(token, request)).rejects.toMatchObject({ status: 503 })
  })

  test('believes no token any longer that looking again has found to be wrong', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const find = createLocalJWKSet(keys as never)
    let withdrawn = false
    const jwks = (header: never) => (withdrawn ? createLocalJWKSet({ keys: [] })(header) : find(header))
    const verify = verifier(keys, { jwks: jwks as never, now: () => time, cache: { ttl: 60_000 } })
    const token = await sign()
    const connection = { socket: {} } as IncomingMessage
    await verify(token, connection)

    withdrawn = true
    time += 50_000
    expect(verify(token, connection)).toMatchObject({ sub: 'u1' })
    await nextTurn()

    await expect(verify(token, connection)).rejects.toMatchObject({ status: 401 })
  })

  test('does not have who comes after a change of the keys wait for what began before', async () => {
    const { keys, sign } = await issuer()
    const found = createLocalJWKSet(keys as never)
    const asked = signalled()
    const there = signalled()
    let version = 1
    const jwks = Object.defineProperty(
      async (header: never) => {
        if (version === 2) return createLocalJWKSet({ keys: [] })(header)

        asked.fire()
        await there.promise
        return found(header)
      },
      'version',
      { get: () => version },
    )
    const verify = verifier(keys, { jwks: jwks as never })
    const token = await sign()

    const before = verify(token, request) as Promise<Claims>
    await asked.promise
    version = 2
    const after = verify(token, request) as Promise<Claims>
    const outcomes = Promise.allSettled([before, after])
    there.fire()

    expect(await outcomes).toMatchObject([{ value: { sub: 'u1' } }, { reason: { status: 401 } }])
    await expect(verify(token, request)).rejects.toMatchObject({ status: 401 })
  })

  test('does not remember what was verified with the first keys of all under the number of the next', async () => {
    const { keys, sign } = await issuer()
    const found = createLocalJWKSet(keys as never)
    let version = 0
    const jwks = Object.defineProperty(
      async (header: never) => {
        if (version === 1) return createLocalJWKSet({ keys: [] })(header)

        const key = await found(header)
        version = 1
        return key
      },
      'version',
      { get: () => version },
    )
    const verify = verifier(keys, { jwks: jwks as never })
    const token = await sign()
    await verify(token, request)

    await expect(verify(token, request)).rejects.toMatchObject({ status: 401 })
  })

  test('asks anew for a token that a source of keys has not answered for', async () => {
    const { keys, sign } = await issuer()
    const find = createLocalJWKSet(keys as never)
    let time = now()
    const jwks = vi.fn((header: never) => find(header)).mockImplementationOnce(() => new Promise(() => {}))
    const verify = verifier(keys, { jwks: jwks as never, now: () => time })
    const token = await sign()
    void verify(token, request)

    time += 10_000
    expect(await verify(token, request)).toMatchObject({ sub: 'u1' })
  })

  test('believes what is known on a connection also where the cache has forgotten it', async () => {
    const { keys, sign } = await issuer()
    let time = now()
    const verify = verifier(keys, { now: () => time, cache: { max: 2, ttl: 60_000 } })
    const token = await sign()
    const connection = { socket: {} } as IncomingMessage
    await verify(token, connection)
    await verify(token, connection)
    for (const sub of ['a', 'b', 'c']) await verify(await sign({ sub }), request)

    time += 50_000
    expect(verify(token, connection)).toMatchObject({ sub: 'u1' })
    await nextTurn()
  })

  test.each([
    ['does not answer', new errors.JWKSTimeout()],
    ['answers with an error', new errors.JOSEError('Expected 200 OK from the JSON Web Key Set HTTP response')],
    ['has no key set', new errors.JWKSInvalid('JSON Web Key Set malformed')],
  ])("blames no token where jose's own source of keys %s", async (_, error) => {
    const { keys, sign } = await issuer()
    const verify = verifier(keys, { jwks: () => Promise.reject(error) })

    await expect(verify(await sign(), request)).rejects.toMatchObject({
      code: 'MSX_AUTH_KEYS_UNAVAILABLE',
      status: 503,
      cause: error,
    })
  })

  test.each([{ socket: null }, {}, null, undefined])('needs no connection: %o', async (req) => {
    const { keys, sign } = await issuer()
    const verify = verifier(keys)
    const token = await sign()
    await verify(token, req as never)

    expect(verify(token, req as never)).toMatchObject({ sub: 'u1' })
  })

  test('does not remember a token that another verifier has accepted', async () => {
    const { keys, sign } = await issuer()
    const token = await sign()
    await verifier(keys)(token, request)

    await expect(verifier(keys, { audience: 'bank' })(token, request)).rejects.toMatchObject({ status: 401 })
  })

  test('forgets what it remembers when the keys change', async () => {
    const first = await issuer('k1')
    const second = await issuer('k2')
    let version = 1
    let find = createLocalJWKSet(first.keys as never)
    const jwks = Object.defineProperty((header: never) => find(header), 'version', { get: () => version })
    const verify = verifier(first.keys, { jwks: jwks as never })
    const token = await first.sign()
    await verify(token, request)

    version = 2
    find = createLocalJWKSet(second.keys as never)

    await expect(verify(token, request)).rejects.toMatchObject({ status: 401 })
  })

  describe('on a connection that keeps coming with the same token', () => {
    /** Three times: looked into, found among the recent ones, and known from the connection. */
    async function shown(verify: Verify, token: string) {
      const connection = { socket: {} } as IncomingMessage
      for (let time = 0; time < 3; time += 1) await verify(token, connection)
      return connection
    }

    test('believes it no longer than it is valid', async () => {
      const { keys, sign } = await issuer()
      let time = now()
      const verify = verifier(keys, { now: () => time, clockTolerance: 0 })
      const token = await sign({ exp: Math.floor(time / 1_000) + 30 })
      const connection = await shown(verify, token)

      expect(verify(token, connection)).toMatchObject({ sub: 'u1' })
      time += 31_000
      await expect(verify(token, connection)).rejects.toThrow('expired')
    })

    test('believes it no longer than the keys stand', async () => {
      const { keys, sign } = await issuer()
      let version = 1
      let find = createLocalJWKSet(keys as never)
      const jwks = Object.defineProperty((header: never) => find(header), 'version', { get: () => version })
      const verify = verifier(keys, { jwks: jwks as never })
      const token = await sign()
      const connection = await shown(verify, token)

      version = 2
      find = createLocalJWKSet((await issuer('k2')).keys as never)
      await expect(verify(token, connection)).rejects.toMatchObject({ status: 401 })
    })

    test('takes no other token for it', async () => {
      const { keys, sign } = await issuer()
      const verify = verifier(keys)
      const [one, other] = [await sign({ sub: 'one' }), await sign({ sub: 'other' })]
      const connection = await shown(verify, one)

      for (let time = 0; time < 3; time += 1) {
        expect(await verify(other, connection)).toMatchObject({ sub: 'other' })
        expect(await verify(one, connection)).toMatchObject({ sub: 'one' })
      }
      await expect(verify(`${one.slice(0, -4)}AAAA`, connection)).rejects.toMatchObject({ status: 401 })
    })

    test('leaves it to another verifier what that believes', async () => {
      const { keys, sign } = await issuer()
      const token = await sign()
      const connection = await shown(verifier(keys), token)

      await expect(verifier(keys, { audience: 'bank' })(token, connection)).rejects.toMatchObject({ status: 401 })
    })
  })

  test.each<[Partial<Record<keyof JwtVerifierOptions, unknown>>, string]>([
    [{ algorithms: undefined }, 'algorithms is required'],
    [{ algorithms: [] }, 'algorithms must be a non-empty list'],
    [{ algorithms: ['none'] }, "must not have 'none'"],
    [{ algorithms: ['ES256', 'None'] }, "must not have 'none'"],
    [{ issuer: undefined }, 'issuer is required'],
    [{ audience: '' }, 'audience must be'],
    [{ jwks: undefined }, 'jwks is required'],
    [{ jwks: 'nowhere' }, 'url must be a URL'],
    [{ clockTolerance: -1 }, 'clockTolerance must be'],
    [{ cache: { max: 0 } }, 'cache.max must be'],
    [{ cache: null }, 'cache must be an object, or false, got null'],
  ])('refuses the options %j', (options, message) => {
    expect(() => verifier({ keys: [] }, options as never)).toThrow(
      new RegExp(`^jwtVerifier: .*${message}|^remoteJwks: ${message}`),
    )
  })
})

describe('behind authenticate', () => {
  test('is 401 for a bad token, 503 with Retry-After when the keys are not to be had', async () => {
    const { keys, sign } = await issuer()
    let up = false
    const upstream = await startUpstream((_req, res) => (up ? res.end(JSON.stringify(keys)) : res.writeHead(500).end()))
    let time = 0
    const jwks = remoteJwks(upstream.url, { clock: { now: () => time } })
    const guard = authenticate({ verify: verifier(keys, { jwks }) })
    const { url } = await serve((req, res, next) =>
      guard(req, res, (error) => (error === undefined ? res.end('in') : next(error))),
    )
    const ask = async (token: string) => fetch(url, { headers: { authorization: `Bearer ${token}` } })
    const token = await sign()

    const away = await ask(token)
    expect([away.status, away.headers.get('retry-after')]).toEqual([503, '1'])
    expect(away.headers.get('www-authenticate')).toBeNull()

    up = true
    time += 1_000
    expect((await ask(token)).status).toBe(200)

    const bad = await ask(`${token}x`)
    expect([bad.status, bad.headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"'])
  })
})
