import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/analytics-service', include: ['src/**/*.test.ts'] } })
