import { defineConfig } from 'tsup'
import { application } from '../../../tooling/tsup.js'

export default defineConfig(
  application({ main: 'src/main.ts', initialise: 'src/initialise.ts', reset: 'src/reset.ts' }),
)
