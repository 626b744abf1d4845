import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'discovery', include: ['src/**/*.test.ts'], isolate: false } })
