import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/order-service', include: ['src/**/*.test.ts'] } })
