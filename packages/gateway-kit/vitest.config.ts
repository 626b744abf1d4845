import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'gateway-kit', include: ['src/**/*.test.ts'], isolate: false } })
