export { createProductService } from './service.js'
