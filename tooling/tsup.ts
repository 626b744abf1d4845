import type { Options } from 'tsup'

/**
 * The build of every published package: ESM only, one file per line of `exports`, shared chunks so that a class keeps
 * one identity across subpaths.
 */
export function library(entry: Record<string, string>): Options {
  return {
    entry,
    format: ['esm'],
    target: 'node20',
    platform: 'node',
    splitting: true,
    treeshake: true,
    sourcemap: false,
    clean: true,
    // `node:crypto` stays `node:crypto`: Deno and bundlers know a module of Node by its prefix.
    removeNodeProtocol: false,
    // tsup's declaration step sets `baseUrl`, which TypeScript 6 refuses unless told that we know.
    dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
  }
}

/** The build of a private package that only runs: no declarations, its types are read from `src`. */
export function application(entry: Record<string, string>): Options {
  return {
    entry,
    format: ['esm'],
    target: 'node20',
    platform: 'node',
    sourcemap: true,
    clean: true,
    removeNodeProtocol: false,
    dts: false,
  }
}
