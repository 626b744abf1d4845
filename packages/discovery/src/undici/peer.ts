import { createRequire } from 'node:module'
import type * as Undici from 'undici'

/** The optional peer, as far as it is loaded at run time. Everything else of it is types. */
export const undici: typeof Undici = load()

/** Loads it, or says how to install it: Node's own message names neither the entry that needs it nor the command. */
function load(): typeof Undici {
  try {
    return createRequire(import.meta.url)('undici') as typeof Undici
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw cause

    const problem = "@msx/discovery/undici needs the package 'undici', which is not installed: npm install undici@7"
    throw Object.assign(new Error(problem, { cause }), { code: 'MSX_PEER_MISSING' })
  }
}
