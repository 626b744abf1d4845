import { defineConfig } from 'tsup'
import { library } from '../../tooling/tsup.js'

const options = library({
  index: 'src/index.ts',
  undici: 'src/undici.ts',
  consul: 'src/consul.ts',
  node: 'src/node.ts',
  prometheus: 'src/prometheus.ts',
  opentelemetry: 'src/opentelemetry.ts',
  testing: 'src/testing.ts',
  cli: 'src/cli.ts',
})

// The bundled declarations lose the reference that index.ts begins with; without it `AsyncDisposable` has no meaning there.
const banner = '/// <reference lib="esnext.disposable" preserve="true" />'

const config: ReturnType<typeof defineConfig> = defineConfig({
  ...options,
  dts: { ...(options.dts as object), banner },
})

export default config
