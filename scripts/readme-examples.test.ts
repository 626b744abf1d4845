import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')

/** What the examples take for granted: names of the reader's own program. */
const program: Record<string, Record<string, string>> = {
  retry: {
    'inventory.ts': `
      import type { Client, ClientUnaryCall, ServiceError } from '@grpc/grpc-js'
      export interface GetStockRequest { sku: string }
      export interface Stock { sku: string; count: number }
      export interface InventoryClient extends Client {
        getStock(request: GetStockRequest, callback: (error: ServiceError | null, stock: Stock) => void): ClientUnaryCall
      }`,
  },
  'circuit-breaker': {
    'program.d.ts': `
      declare const breaker: import('@msx/circuit-breaker').CircuitBreaker
      declare const inventory: import('@msx/circuit-breaker').CircuitBreaker
      declare const api: { loadUser(id: string): Promise<{ name: string }> }
      declare class ApiClient { load(id: string): Promise<string> }
      declare const stream: import('node:stream').Readable
      declare const request: Request
      declare const url: URL
      declare const report: { readonly id: string }
      declare function render(it: typeof report): Promise<string>
      declare const address: string
      interface Stock { readonly sku: string; readonly count: number }
      declare class StockService {
        constructor(address: string, credentials: import('@grpc/grpc-js').ChannelCredentials)
        get(
          request: { readonly sku: string },
          options: import('@grpc/grpc-js').CallOptions,
          callback: (error: import('@grpc/grpc-js').ServiceError | null, stock: Stock) => void,
        ): void
      }`,
  },
}

/** Packages that examples import and that a package does not depend on. */
const installed = {
  pg: 'packages/saga/node_modules/@types/pg/index.d.ts',
  '@grpc/grpc-js': 'packages/circuit-breaker/node_modules/@grpc/grpc-js/build/src/index.d.ts',
}

it.each(Object.keys(program))('every example of the README of %s compiles', { timeout: 60_000 }, async (name) => {
  const folder = join(root, 'packages', name)
  const readme = readFileSync(join(folder, 'README.md'), 'utf8')
  const place = await mkdtemp(join(folder, '.cache-types-'))
  try {
    // Each block is a module of its own, as for a reader.
    const blocks = [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, source]) => `${source}\nexport {}\n`)
    const files = {
      ...Object.fromEntries(blocks.map((source, index) => [`example-${index}.ts`, source])),
      ...program[name],
    }
    for (const [file, source] of Object.entries(files)) await writeFile(join(place, file), source)

    const paths = Object.fromEntries(Object.entries(installed).map(([id, path]) => [id, [join(root, path)]]))
    const compilerOptions = { noUnusedLocals: false, allowImportingTsExtensions: true, paths }
    const config = { extends: join(root, 'tsconfig.base.json'), compilerOptions, include: ['*.ts'] }
    await writeFile(join(place, 'tsconfig.json'), JSON.stringify(config))

    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const result = await promisify(execFile)(process.execPath, [tsc, '-p', place]).catch((error) => error)

    expect(blocks.length).toBeGreaterThan(5)
    expect(result.stdout).toBe('')
  } finally {
    await rm(place, { recursive: true, force: true })
  }
})
