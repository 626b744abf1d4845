import { defineConfig } from 'tsup'
import { application } from '../../../tooling/tsup.js'

export default defineConfig(
  application({
    main: 'src/main.ts',
    initialise: 'src/initialise.ts',
    reset: 'src/reset.ts',
    full: 'src/full/main.ts',
    service: 'src/full/service-process.ts',
    'reset-full': 'src/full/reset.ts',
  }),
)
