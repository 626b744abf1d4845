import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

/** Runs the built package in a process of its own: build first. */
function life(folder: string, role: 'first' | 'second'): ChildProcess {
  const script = fileURLToPath(new URL('testing/kill.child.mjs', import.meta.url))
  return spawn(process.execPath, [script, folder, role], { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function output(child: ChildProcess, until: (text: string) => boolean): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk)
    if (until(text)) break
  }
  return text
}

test('twenty sagas go on after kill -9 of the only process', { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'msx-saga-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))

  const first = life(folder, 'first')
  expect(await output(first, (text) => text.includes('in the middle'))).toContain('in the middle')
  first.kill('SIGKILL')
  await once(first, 'exit')

  const told = await output(life(folder, 'second'), () => false)
  const { statuses, effects } = JSON.parse(told) as { statuses: string[]; effects: { key: string; times: number }[] }

  expect(statuses).toEqual(Array.from({ length: 20 }, () => 'completed'))
  expect(effects).toHaveLength(80)
  // The step that was cut off ran again under the same key; nothing else did.
  for (const { key, times } of effects) expect([key, times]).toEqual([key, key.includes(':charge:') ? 2 : 1])
})
