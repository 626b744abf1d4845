import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/scenarios', include: ['src/**/*.test.ts'], isolate: false } })
