import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/payment-service', include: ['src/**/*.test.ts'] } })
