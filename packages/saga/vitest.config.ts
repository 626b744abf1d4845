import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'saga', include: ['src/**/*.test.ts'], isolate: false } })
