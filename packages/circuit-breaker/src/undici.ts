export {
  type CircuitBreakerInterceptor,
  type CircuitBreakerInterceptorOptions,
  circuitBreakerInterceptor,
} from './undici/interceptor.js'
export type { ResponseHead } from './undici/response-head.js'
