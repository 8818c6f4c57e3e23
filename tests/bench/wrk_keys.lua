-- Requests on many keys, made beforehand and sent one after the other.
--
--   wrk … -s wrk_keys.lua URL -- METHOD KEYS [BODY]
--
-- The last line of the output is the outcome as JSON.

local REQUESTS = 20000
local requests, sent = {}, 0

function init(args)
   local keys = tonumber(args[2])
   math.randomseed(1)
   for i = 1, REQUESTS do
      local path = string.format("/keys/key:%012d?raw", math.random(0, keys - 1))
      requests[i] = wrk.format(args[1], path, {["Content-Type"] = "application/json"}, args[3])
   end
   sent = math.random(0, REQUESTS)
end

function request()
   sent = sent + 1
   return requests[sent % REQUESTS + 1]
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"answers":%d,"us":%d,"p99_us":%d,"errors":%d}\n',
      summary.requests, summary.duration, latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
