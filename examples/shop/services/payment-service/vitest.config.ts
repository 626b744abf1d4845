import { defineConfig } from 'vitest/config'

export default defineConfig({
  // The embedded PostgreSQL takes its time to begin on a busy machine.
  test: { name: '@shop/payment-service', include: ['src/**/*.test.ts'], isolate: false, hookTimeout: 60_000 },
})
