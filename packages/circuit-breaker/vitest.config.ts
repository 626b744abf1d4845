import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { name: 'circuit-breaker', include: ['src/**/*.test.ts'], isolate: false } })
