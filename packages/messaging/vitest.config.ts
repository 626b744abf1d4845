import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'messaging', include: ['src/**/*.test.ts'], isolate: false } })
