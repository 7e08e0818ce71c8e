//! What happens to containers, as it happens.

use berth_format::Product;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use super::{Docker, failure, map};
use crate::engine::{
    Event, Happening, Health, LABEL_GENERATION, LABEL_NAME, LABEL_PRODUCT, Result,
};

impl Docker {
    pub(super) fn events_of(
        &self,
        product: &Product,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + use<>> {
        let filters = map::filters([
            ("type", "container".to_owned()),
            ("label", format!("{LABEL_PRODUCT}={product}")),
            ("event", "start".to_owned()),
            ("event", "die".to_owned()),
            ("event", "oom".to_owned()),
            ("event", "health_status".to_owned()),
            ("event", "destroy".to_owned()),
        ]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let messages = self.client()?.events(Some(options));
        Ok(messages.filter_map(|message| {
            std::future::ready(match message {
                Ok(message) => event(message).map(Ok),
                Err(error) => Some(Err(failure("events", error))),
            })
        }))
    }
}

fn event(message: EventMessage) -> Option<Event> {
    let attributes = message.actor?.attributes?;
    let what = match message.action?.as_str() {
        "start" => Happening::Started,
        "die" => Happening::Died {
            code: attributes.get("exitCode")?.parse().ok()?,
        },
        "oom" => Happening::OutOfMemory,
        "destroy" => Happening::Destroyed,
        "health_status: starting" => Happening::Health(Health::Starting),
        "health_status: healthy" => Happening::Health(Health::Healthy),
        "health_status: unhealthy" => Happening::Health(Health::Unhealthy),
        _ => return None,
    };
    Some(Event {
        at: message
            .time_nano
            .and_then(|nanos| Timestamp::from_nanosecond(nanos.into()).ok()),
        container: attributes.get("name")?.clone(),
        service: attributes.get(LABEL_NAME)?.parse().ok()?,
        generation: attributes.get(LABEL_GENERATION)?.parse().ok()?,
        what,
    })
}
