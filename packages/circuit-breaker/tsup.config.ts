import { defineConfig } from 'tsup'
import { library } from '../../tooling/tsup.js'

const options = library({
  index: 'src/index.ts',
  opentelemetry: 'src/opentelemetry.ts',
  prometheus: 'src/prometheus.ts',
  undici: 'src/undici.ts',
})

// The bundled declarations lose the reference that index.ts begins with; without it `Disposable` has no meaning there.
const banner = '/// <reference lib="esnext.disposable" preserve="true" />'

const config: ReturnType<typeof defineConfig> = defineConfig({
  ...options,
  dts: { ...(options.dts as object), banner },
})

export default config
