import { defineConfig } from 'vitest/config'

// A PostgreSQL that starts inside the test's own process takes its time on a busy machine.
const patience = { hookTimeout: 30_000, testTimeout: 20_000 }

export default defineConfig({
  test: { name: '@shop/product-service', include: ['src/**/*.test.ts'], isolate: false, ...patience },
})
