// `node scripts/measure-shop.mjs`: the shop in one process and in seven, with the same customer. Needs a build, and for
// the second half the four servers.
import { execFile, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const program = (name) => fileURLToPath(new URL(`../examples/shop/runner/dist/${name}.js`, import.meta.url))
const alone = 40
const together = 32
const seconds = 6

console.log(`Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model}`)
for (const mode of ['main', 'full']) console.log(JSON.stringify(await measure(mode)))

async function measure(mode) {
  const folder = await mkdtemp(join(tmpdir(), 'shop-measured-'))
  const shop = `m_${randomBytes(4).toString('hex')}`
  const env = {
    ...process.env,
    DATA_DIR: folder,
    SHOP_NAME: shop,
    PORT: '0',
    RATE_LIMIT: '100000',
    SIGN_IN_LIMIT: '1000',
  }
  try {
    // The first start makes databases; the second is the one that people wait for.
    await (await start(mode, env)).stop()
    const began = performance.now()
    const { url, pid, stop } = await start(mode, env)
    const ready = performance.now() - began
    const buyer = await signIn(url)
    for (let i = 0; i < 10; i++) await buy(url, buyer, 25)

    const answers = []
    const endings = []
    for (let i = 0; i < alone; i++) {
      const { answered, ended } = await buy(url, buyer, 25)
      answers.push(answered)
      endings.push(ended)
    }
    let orders = 0
    const until = performance.now() + seconds * 1_000
    await Promise.all(
      Array.from({ length: together }, async () => {
        while (performance.now() < until) {
          await buy(url, buyer, 500)
          orders += 1
        }
      }),
    )
    const memory = await residentMegabytes(pid)
    await stop()
    return {
      mode: mode === 'main' ? 'one process' : 'seven processes',
      readyMs: Math.round(ready),
      answerMs: [at(answers, 0.5), at(answers, 0.95)],
      confirmedMs: [at(endings, 0.5), at(endings, 0.95)],
      ordersPerSecond: Math.round(orders / seconds),
      memoryMb: memory,
    }
  } finally {
    if (mode === 'full') await promisify(execFile)(process.execPath, [program('reset-full')], { env })
    await rm(folder, { recursive: true, force: true })
  }
}

async function start(mode, env) {
  const child = spawn(process.execPath, [program(mode)], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  let text = ''
  const url = await new Promise((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
      const ready = /shop ready on (\S+)/.exec(text)?.[1]
      if (ready !== undefined) resolve(ready)
    })
    exit.then(() => reject(new Error(`the shop ended before it was ready:\n${text}`)))
  })
  return {
    url,
    pid: child.pid,
    async stop() {
      child.kill('SIGINT')
      await exit
    },
  }
}

async function signIn(url) {
  const account = { email: `${randomUUID()}@example.test`, password: 'correct horse battery', name: 'Ada' }
  await post(url, '/api/users', account)
  return (await post(url, '/api/sessions', account)).token
}

/** Milliseconds until the 202, and until the order is no longer PENDING, which is asked every `pause` ms. */
async function buy(url, token, pause) {
  const headers = { authorization: `Bearer ${token}`, 'idempotency-key': randomUUID() }
  const began = performance.now()
  const { id } = await post(
    url,
    '/api/orders',
    { items: [{ productId: 'dotted-notebook', quantity: 1 }], paymentMethod: 'card-ok' },
    headers,
  )
  const answered = performance.now() - began
  for (;;) {
    const order = await (await fetch(`${url}/api/orders/${id}`, { headers })).json()
    if (order.status !== 'PENDING') return { answered, ended: performance.now() - began }
    await sleep(pause)
  }
}

async function post(url, path, body, headers = {}) {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`)
  return response.json()
}

/** Of the process and those that it started, without the servers. */
async function residentMegabytes(pid) {
  const status = async (id) => await readFile(`/proc/${id}/status`, 'utf8').catch(() => '')
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const own = []
  for (const id of ids) {
    const text = await status(id)
    if (Number(id) === pid || Number(/^PPid:\s+(\d+)/m.exec(text)?.[1]) === pid) own.push(text)
  }
  return Math.round(own.reduce((sum, text) => sum + Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0) / 1_024)
}

function at(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round(sorted[Math.ceil(sorted.length * share) - 1])
}
