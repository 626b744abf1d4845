import type { Options } from 'tsup'
import { library } from '../../tooling/tsup.js'

const options = library({
  index: 'src/index.ts',
  postgres: 'src/postgres.ts',
  prometheus: 'src/prometheus.ts',
  opentelemetry: 'src/opentelemetry.ts',
  testing: 'src/testing.ts',
  cli: 'src/cli.ts',
})

const config: Options = {
  ...options,
  // The engine is AsyncDisposable, which a reader's `lib` may not know.
  dts: { ...(options.dts as object), banner: '/// <reference lib="esnext.disposable" preserve="true" />' },
}

export default config
