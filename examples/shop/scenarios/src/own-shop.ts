import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ShopAddress } from './visit.js'

const program = fileURLToPath(new URL('../../runner/dist/main.js', import.meta.url))

/** A shop in one process for as long as the scenarios take, with data that nobody misses. */
export async function ownShop(): Promise<ShopAddress & { stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-scenario-'))
  const token = randomBytes(24).toString('base64url')
  const child = spawn(process.execPath, [program], {
    env: {
      ...process.env,
      OPS_TOKEN: token,
      PORT: '0',
      DATA_DIR: folder,
      RATE_LIMIT: '100000',
      SIGN_IN_LIMIT: '100000',
      LOG_LEVEL: 'silent',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGINT')
    await exit
    await rm(folder, { recursive: true, force: true })
  }

  let said = ''
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const ready = /shop ready on (\S+)/.exec(said)?.[1]
      if (ready !== undefined) resolve(ready)
    })
    exit.then(([code]) => reject(new Error(`the shop ended with ${code} before it was ready`)), reject)
  }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true })
    throw error
  })

  return { url, token, stop }
}
