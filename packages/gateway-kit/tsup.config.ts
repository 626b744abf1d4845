import { defineConfig } from 'tsup'
import { library } from '../../tooling/tsup.js'

const options = library({
  index: 'src/index.ts',
  jwt: 'src/jwt.ts',
  redis: 'src/redis.ts',
  grpc: 'src/grpc.ts',
  kong: 'src/kong.ts',
  fetch: 'src/fetch.ts',
  fastify: 'src/fastify.ts',
  opentelemetry: 'src/opentelemetry.ts',
  cli: 'src/cli.ts',
})

// The bundled declarations lose the reference that the sources begin with; without it `AsyncDisposable` has no meaning there.
const banner = '/// <reference lib="esnext.disposable" preserve="true" />'

const config: ReturnType<typeof defineConfig> = defineConfig({
  ...options,
  dts: { ...(options.dts as object), banner },
})

export default config
