import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/platform', include: ['src/**/*.test.ts'] } })
