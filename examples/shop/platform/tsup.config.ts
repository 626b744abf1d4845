import { defineConfig } from 'tsup'
import { application } from '../../../tooling/tsup.js'

export default defineConfig(
  application({ index: 'src/index.ts', embedded: 'src/embedded.ts', testing: 'src/testing.ts' }),
)
