import type { Options } from 'tsup'
import { library } from '../../tooling/tsup.js'

const options = library({
  cli: 'src/cli.ts',
  index: 'src/index.ts',
  opentelemetry: 'src/opentelemetry.ts',
  postgres: 'src/postgres.ts',
  prometheus: 'src/prometheus.ts',
  rabbitmq: 'src/rabbitmq.ts',
  testing: 'src/testing.ts',
})

// Bundling the declarations drops the reference that index.ts begins with; without it AsyncDisposable has no meaning.
const banner = '/// <reference lib="esnext.disposable" preserve="true" />'

const config: Options = { ...options, dts: { ...(options.dts as object), banner } }

export default config
