export { createNotificationService } from './service.js'
