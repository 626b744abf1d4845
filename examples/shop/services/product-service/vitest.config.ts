import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/product-service', include: ['src/**/*.test.ts'] } })
