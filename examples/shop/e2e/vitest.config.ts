import { defineConfig } from 'vitest/config'

// Each file starts shops of its own; one file at a time keeps two cores from being shared by several of them.
export default defineConfig({
  test: {
    name: '@shop/e2e',
    include: ['src/**/*.test.ts'],
    globalSetup: ['src/global-setup.ts'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
