import type { Options } from 'tsup'
import { library } from '../../tooling/tsup.js'

const config: Options = library({
  index: 'src/index.ts',
  prometheus: 'src/prometheus.ts',
  opentelemetry: 'src/opentelemetry.ts',
  undici: 'src/undici.ts',
})

export default config
