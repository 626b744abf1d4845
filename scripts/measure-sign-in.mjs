// `node scripts/measure-sign-in.mjs [url] [rounds]`: whether the time of an answer tells that an address has an account.
// Asks a running shop that was started with `SIGN_IN_LIMIT=100000`: a wrong password for an address that is known, and
// one for an address that is not, in turn.
import { randomUUID } from 'node:crypto'

const [url = 'http://127.0.0.1:8080', rounds = '200'] = process.argv.slice(2)
const address = () => `${randomUUID()}@example.test`
const known = address()
await ask('/api/users', { email: known, password: 'correct horse battery', name: 'Ada' }, 201)

const times = { known: [], unknown: [], 'never the same': [] }
for (let round = 0; round < Number(rounds) + 5; round++) {
  const kinds = { known, unknown: 'nobody@example.test', 'never the same': address() }
  // Whoever comes after another one may find something warm: each goes first in its turn.
  const order = Object.entries(kinds).map((_, index, all) => all[(index + round) % all.length])
  for (const [kind, email] of order) {
    const began = performance.now()
    await ask('/api/sessions', { email, password: 'wrong horse battery' }, 401)
    if (round >= 5) times[kind].push(performance.now() - began)
  }
}

for (const [kind, all] of Object.entries(times)) {
  const [p25, p50, p75] = [0.25, 0.5, 0.75].map((share) => at(all, share).toFixed(2))
  console.log(`${kind.padEnd(15)} median ${p50} ms (quartiles ${p25} to ${p75}), ${all.length} times`)
}
const ratio = at(times.unknown, 0.5) / at(times.known, 0.5)
console.log(`an unknown address takes ${((ratio - 1) * 100).toFixed(2)} % longer than a known one`)

async function ask(path, body, status) {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  if (response.status !== status) throw new Error(`${path} answered ${response.status}: ${text}`)
}

function at(values, share) {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1]
}
