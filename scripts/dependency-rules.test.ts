import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import { afterAll, beforeAll, expect, test } from 'vitest'

const rules = createRequire(import.meta.url)('../.dependency-cruiser.cjs')

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'msx-rules-'))
  await mkdir(join(folder, 'packages/circuit-breaker/src'), { recursive: true })
  await writeFile(join(folder, 'packages/circuit-breaker/src/undici.ts'), '')
})

afterAll(() => rm(folder, { recursive: true }))

/** The rules broken by one file with one import, in a tree of its own with the workspace's layout. */
async function broken(file: string, specifier: string): Promise<string[]> {
  const planted = join(folder, file)
  await mkdir(dirname(planted), { recursive: true })
  await writeFile(planted, `import '${specifier}'\n`)

  const { output } = await cruise([file], {
    baseDir: folder,
    ruleSet: { forbidden: rules.forbidden },
    validate: true,
    tsPreCompilationDeps: true,
  })
  await rm(planted)

  return (output as ICruiseResult).summary.violations.map((violation) => violation.rule.name)
}

test.each([
  ['packages/retry/src/planted.ts', '@msx/circuit-breaker', 'retry-knows-nobody'],
  ['packages/retry/src/planted.ts', 'node:timers', 'ground-floor-runs-everywhere'],
  ['packages/circuit-breaker/src/planted.ts', '@msx/retry', 'circuit-breaker-knows-nobody'],
  ['packages/saga/src/planted.ts', '@msx/messaging', 'saga-knows-only-retry'],
  ['packages/messaging/src/planted.ts', '@msx/saga/postgres', 'messaging-knows-only-retry'],
  ['packages/discovery/src/planted.ts', '@msx/gateway-kit', 'discovery-knows-only-retry'],
  ['packages/discovery/src/planted.ts', 'undici', 'undici-only-in-its-subpath'],
  ['packages/gateway-kit/src/planted.ts', '@msx/saga', 'gateway-kit-knows-only-retry-circuit-breaker-discovery'],
  ['packages/gateway-kit/src/planted.ts', 'jose', 'jose-only-in-its-subpath'],
  ['packages/gateway-kit/src/redis.ts', 'ioredis', 'ioredis-only-in-its-subpath'],
  ['packages/messaging/src/planted.ts', 'amqplib', 'amqplib-only-in-its-subpath'],
  ['packages/circuit-breaker/src/index.ts', './undici.ts', 'root-entry-does-not-reach-undici'],
  ['packages/saga/src/planted.ts', '@shop/contracts', 'packages-do-not-know-the-shop'],
  ['examples/shop/services/order-service/src/planted.ts', '@shop/user-service', 'a-service-knows-no-other-service'],
  ['examples/shop/contracts/src/planted.ts', '@shop/order-service', 'contracts-hold-no-code-of-the-shop'],
])('%s may not import %s', async (file, specifier, rule) => {
  expect(await broken(file, specifier)).toEqual([rule])
})

test.each([
  ['packages/saga/src/planted.ts', '@msx/retry'],
  ['packages/gateway-kit/src/planted.ts', '@msx/discovery/undici'],
  ['packages/gateway-kit/src/jwt.ts', 'jose'],
  ['packages/discovery/src/undici.ts', 'undici'],
  ['examples/shop/services/order-service/src/planted.ts', '@shop/contracts'],
  ['examples/shop/services/order-service/src/planted.ts', '@msx/saga'],
])('%s may import %s', async (file, specifier) => {
  expect(await broken(file, specifier)).toEqual([])
})
