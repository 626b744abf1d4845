import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: '@shop/runner', include: ['src/**/*.test.ts'], isolate: false } })
