export { createAnalyticsService } from './service.js'
