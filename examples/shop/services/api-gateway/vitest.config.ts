import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/api-gateway', include: ['src/**/*.test.ts'], isolate: false } })
