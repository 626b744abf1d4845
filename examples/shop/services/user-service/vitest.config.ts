import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/user-service', include: ['src/**/*.test.ts'] } })
