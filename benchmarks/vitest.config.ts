import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Memory at rest can only be measured when garbage can be collected on demand.
  test: { name: 'benchmarks', include: ['src/**/*.test.ts'], execArgv: ['--expose-gc'] },
})
