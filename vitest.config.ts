import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      'packages/*',
      'benchmarks',
      'examples/shop/*/vitest.config.ts',
      'examples/shop/services/*',
      'scripts/vitest.config.ts',
    ],
  },
})
