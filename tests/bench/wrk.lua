-- One request, or several in a row, made once and sent again and again.
--
--   wrk … -s wrk.lua URL -- METHOD DEPTH [CONTENT_TYPE BODY]
--
-- The last line of the output is the outcome as JSON.

function init(args)
   wrk.method = args[1]
   if args[4] then
      wrk.headers["Content-Type"] = args[3]
      wrk.body = args[4]
   end
   local requests = string.rep(wrk.format(), tonumber(args[2]))
   -- wrk calls it once, as long as there is no global `request`.
   wrk.format = function() return requests end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"answers":%d,"us":%d,"p99_us":%d,"errors":%d}\n',
      summary.requests, summary.duration, latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
