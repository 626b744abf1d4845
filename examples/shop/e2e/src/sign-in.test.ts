import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, customer, expectProblem, newCustomer, request } from './customer.js'
import { freshFolder, type ShopProcess, startShop } from './shop-process.js'

let folder: Awaited<ReturnType<typeof freshFolder>>
let shop: ShopProcess
let ada: Customer

beforeAll(async () => {
  folder = await freshFolder()
  shop = await startShop(folder.path, { TOKEN_TTL: '3000', SIGN_IN_LIMIT: '10', RATE_LIMIT: '100' })
  ada = await newCustomer(shop.url)
  expect((await ada.request('GET', `/api/users/${ada.id}`)).status).toBe(200)
})

afterAll(async () => {
  await shop?.interrupt()
  await folder.remove()
})

describe('a request for an order', () => {
  test('without a token is refused and told how to come back', async () => {
    const answer = await request(shop.url, 'GET', '/api/orders/any')

    expectProblem(answer, 401)
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/)
  })

  test('with a token of `alg: none` is refused', async () => {
    const token = new UnsecuredJWT({})
      .setSubject(ada.id)
      .setIssuer('shop')
      .setAudience('shop')
      .setExpirationTime('1h')
      .encode()

    expectProblem(await customer(shop.url, ada.id, ada.email, token).request('GET', '/api/orders/any'), 401)
  })

  test('with a token signed by somebody else is refused', async () => {
    const { privateKey } = await generateKeyPair('ES256')
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'ES256' })
      .setSubject(ada.id)
      .setIssuer('shop')
      .setAudience('shop')
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey)

    expectProblem(await customer(shop.url, ada.id, ada.email, token).request('GET', '/api/orders/any'), 401)
  })

  test('with a token whose content was changed is refused', async () => {
    const [header, , signature] = ada.token.split('.')
    const payload = Buffer.from(JSON.stringify({ sub: 'somebody-else', iss: 'shop', aud: 'shop', exp: 9e9 }))
    const token = `${header}.${payload.toString('base64url')}.${signature}`

    expectProblem(await customer(shop.url, ada.id, ada.email, token).request('GET', '/api/orders/any'), 401)
  })

  test('cannot name its user in a header of its own', async () => {
    const eve = await newCustomer(shop.url)

    expectProblem(await eve.request('GET', `/api/users/${ada.id}`, undefined, { 'x-user-id': ada.id }), 404)
    expectProblem(await request(shop.url, 'GET', `/api/users/${ada.id}`, undefined, { 'x-user-id': ada.id }), 401)
  })
})

describe('an account', () => {
  test('is read, changed and deleted by its owner', async () => {
    const bob = await newCustomer(shop.url)

    expect((await bob.request('PATCH', `/api/users/${bob.id}`, { name: 'Bob' })).status).toBe(200)
    expect((await bob.request('GET', `/api/users/${bob.id}`)).body).toMatchObject({ id: bob.id, name: 'Bob' })
    expect((await bob.request('DELETE', `/api/users/${bob.id}`)).status).toBe(204)
    expectProblem(await bob.request('GET', `/api/users/${bob.id}`), 404)
  })

  test('is refused a second time for one address', async () => {
    const again = { email: ada.email.toUpperCase(), password: 'correct horse battery', name: 'Ada' }

    expectProblem(await request(shop.url, 'POST', '/api/users', again), 409)
  })
})

test('a token that has expired is refused', async () => {
  // It lives for 3 s by the wall clock of another process, most of which the tests before this one have taken.
  await expect
    .poll(async () => (await ada.request('GET', `/api/users/${ada.id}`)).status, { timeout: 10_000, interval: 100 })
    .toBe(401)
})

// The last one here, since it uses up the sign-ins of this minute.
test('the eleventh sign-in of a minute is refused, and says when to come back', async () => {
  const answers = []
  for (let i = 0; i < 12; i++) {
    answers.push(await request(shop.url, 'POST', '/api/sessions', { email: ada.email, password: 'wrong password' }))
  }

  expect(answers.some((answer) => answer.status === 401)).toBe(true)
  const refused = answers.find((answer) => answer.status === 429)
  if (refused === undefined) throw new Error('no sign-in was refused')
  expectProblem(refused, 429)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(refused.headers.get('ratelimit')).toBeTruthy()
})
