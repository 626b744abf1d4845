import { defineConfig } from 'tsup'
import { library } from '../../tooling/tsup.js'

export default defineConfig(library({ index: 'src/index.ts' }))
