import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/contracts', include: ['src/**/*.test.ts'], isolate: false } })
