import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'retry', include: ['src/**/*.test.ts'], isolate: false } })
