import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/e2e', include: ['src/**/*.test.ts'] } })
