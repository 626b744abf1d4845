import { fileURLToPath } from 'node:url'

// `src` and `dist` are equally deep, so these hold for the sources and for what is built from them.
const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

/** Where the shop's data lie unless DATA_DIR names another folder. */
export const defaultDataDir: string = path('../../.data')

/** The program of one service, once it is built. */
export const serviceProgram: string = path('../dist/service.js')

/** `scripts/services`, as node runs it. */
export const serversProgram: string = path('../../../../scripts/servers/cli.mjs')
