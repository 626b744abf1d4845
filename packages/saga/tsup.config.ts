import type { Options } from 'tsup'
import { library } from '../../tooling/tsup.js'

const config: Options = library({ index: 'src/index.ts', postgres: 'src/postgres.ts' })

export default config
