export { type ApiGatewayDeps, createApiGateway } from './gateway.js'
export { type Limiters, type Quota, redisLimiters } from './limiters.js'
