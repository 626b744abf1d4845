import { expect, inject, it } from 'vitest'

// A test runner that quietly hands the work to the Node it was started from would make every other test here a lie.
it('runs where it says', () => {
  const { name, version } = inject('runtime')

  expect(whereWeAre()).toEqual({ name, version })
})

function whereWeAre() {
  if (globalThis.Deno !== undefined) return { name: 'deno', version: Deno.version.deno }
  if (globalThis.Bun !== undefined) return { name: 'bun', version: Bun.version }
  if (globalThis.document !== undefined) {
    // A page is told the major version only.
    return { name: 'chromium', version: /\b(?:Headless)?Chrome\/(\d+)/.exec(navigator.userAgent)?.[1] }
  }
  return { name: `node${process.versions.node.split('.')[0]}`, version: process.versions.node }
}
