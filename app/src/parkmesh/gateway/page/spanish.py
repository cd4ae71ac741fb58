"""The page's texts in Spanish, by the English ones."""

SPANISH = {
    # what the application's pages say, too
    "Known plate": "Matrícula conocida",
    "Known plate, not read exactly": "Matrícula conocida, lectura inexacta",
    "Opened by hand": "Abierta a mano",
    "No plate read": "No se leyó la matrícula",
    "Unknown plate": "Matrícula desconocida",
    "Access revoked": "Acceso revocado",
    "Not valid yet": "Aún no es válida",
    "No longer valid": "Ya no es válida",
    "More than one plate matches": "Coincide más de una matrícula",
    "Read arrived too late": "La lectura llegó demasiado tarde",
    "Already inside": "Ya está dentro",
    "Unit's car limit reached": "Límite de coches de la vivienda alcanzado",
    "Plate barred": "Matrícula vetada",
    "Let in while the gateway's clock was wrong": "Permitido con la hora de la pasarela equivocada",
    "Read not sure enough": "Lectura poco segura",
    "QR code or PIN": "Código QR o PIN",
    "Unknown QR code or PIN": "Código QR o PIN desconocido",
    "QR code or PIN used already": "Código QR o PIN ya utilizado",
    "Too many wrong PINs": "Demasiados PIN erróneos",
    "Let out, because exit is free": "Salida permitida: salir es libre",
    "The barrier did not confirm": "La barrera no confirmó",
    "Granted": "Permitido",
    "Denied": "Denegado",
    "Entry": "Entrada",
    "Exit": "Salida",
    "Entry and exit": "Entrada y salida",
    "In order": "En orden",
    "Free": "Libre",
    "Occupied": "Ocupada",
    "Unknown": "Desconocida",
    "Sign in": "Entrar",
    "Sign out": "Salir",
    "Password": "Contraseña",
    "State": "Estado",
    "Cameras": "Cámaras",
    "Passages": "Pasos",
    "Line": "Línea",
    "List": "Lista",
    "Clock": "Reloj",
    "Access list": "Lista de acceso",
    "Back": "Volver",
    "Skip to the content": "Ir al contenido",
    "The form has expired. Load the page again and send it once more.": (
        "El formulario ha caducado. Cargue la página de nuevo y envíelo otra vez."
    ),
    # the page
    "To do": "Por hacer",
    "Not known": "No se sabe",
    "The gateway doesn't answer this page now.": "La pasarela no responde a esta página ahora.",
    "%(count)s in the last hour": "%(count)s en la última hora",
    "Gates and relays": "Puertas y relés",
    "Connected": "Conectada",
    "Not connected": "Sin conexión",
    "Sensors": "Sensores",
    "Counters": "Contadores",
    "%(entries)s in, %(exits)s out": "%(entries)s entradas, %(exits)s salidas",
    "Line to the servers": "Línea con los servidores",
    "Clock, disk and power": "Reloj, disco y alimentación",
    "For those who help": "Para quien ayuda",
    "Community %(name)s": "Comunidad %(name)s",
    "Reads": "Lecturas",
    "No camera has read a plate in the last hour.": "Ninguna cámara ha leído una matrícula en la última hora.",
    "Nobody has asked to pass in the last hour.": "Nadie ha pedido paso en la última hora.",
    "No pulse in the last hour.": "Ningún pulso en la última hora.",
    "Sent something %(time)s ago.": "Envió algo hace %(time)s.",
    "Has sent nothing since the start.": "No ha enviado nada desde el arranque.",
    "Silent": "En silencio",
    "Its clock is %(time)s off.": "Su reloj se desvía %(time)s.",
    "Told its state %(time)s ago.": "Dijo su estado hace %(time)s.",
    "Has told nothing yet.": "Aún no ha dicho nada.",
    "A file with everything that this gateway knows of itself, without plates and secrets.": (
        "Un archivo con todo lo que esta pasarela sabe de sí misma, sin matrículas ni secretos."
    ),
    "What was looked at": "Qué se ha mirado",
    "Test pulse at %(gate)s": "Pulso de prueba en %(gate)s",
    "The gate is busy: the pulse comes within seconds, or not at all.": (
        "La puerta está ocupada: el pulso llega en unos segundos, o no llega."
    ),
    "This is the gateway of the gates here. Its password is with those who operate it.": (
        "Esta es la pasarela de las puertas de aquí. Su contraseña la tiene quien la opera."
    ),
    "Look at everything": "Mirarlo todo",
    "Nothing is to do, by what the gateway knows without asking around.": (
        "No hay nada que hacer, por lo que la pasarela sabe sin preguntar a nadie."
    ),
    "Waits for a better read": "Espera una lectura mejor",
    "Decided with another read of the car": "Decidida con otra lectura del coche",
    "The relay confirmed the last pulse at %(time)s.": "El relé confirmó el último pulso a las %(time)s.",
    "The relay didn't confirm the last pulse at %(time)s.": "El relé no confirmó el último pulso de las %(time)s.",
    "Heard": "Se oye",
    "Not heard yet": "Aún no se oye",
    "Times: %(count)s": "Veces: %(count)s",
    "Sent to no camera": "Enviado a ninguna cámara",
    "The disk doesn't answer: the state isn't known.": "El disco no responde: no se sabe el estado.",
    "Export for support": "Exportar para soporte",
    "All the rest": "Todo lo demás",
    "The barrier moves. Look whether anybody or anything is under it.": (
        "La barrera se mueve. Mire que no haya nadie ni nada debajo."
    ),
    "It is recorded like an opening by hand.": "Queda registrado como una apertura a mano.",
    "The relay confirmed the pulse.": "El relé confirmó el pulso.",
    "The relay didn't confirm. Look at the barrier: it may have moved.": (
        "El relé no confirmó. Mire la barrera: puede haberse movido."
    ),
    "What is to do": "Qué hay que hacer",
    "All is well": "Todo va bien",
    "Reads in the last hour: %(count)s.": "Lecturas en la última hora: %(count)s.",
    "Last answer": "Última respuesta",
    "Waiting records": "Registros en espera",
    "Version %(version)s": "Versión %(version)s",
    "Test pulse": "Pulso de prueba",
    "%(time)s ago": "hace %(time)s",
    "None since the start": "Ninguna desde el arranque",
    "The way is clear: open": "El paso está libre: abrir",
    "Don't open": "No abrir",
    "Error": "Error",
    "There is nothing at this address": "No hay nada en esta dirección",
    "Nothing was done": "No se ha hecho nada",
    "The password is wrong.": "La contraseña no es correcta.",
    "Too many wrong passwords. Try again in %(seconds)s s.": (
        "Demasiadas contraseñas erróneas. Inténtelo de nuevo en %(seconds)s s."
    ),
    # what was looked at
    "Agent": "Agente",
    "Wrong posts": "Envíos erróneos",
    "Broker": "Broker MQTT",
    "Sensor": "Sensor",
    "Counter": "Contador",
    "Reader": "Lector",
    "It is plugged in.": "Está conectado.",
    "The scanner or keypad isn't there (%(fault)s).": "El escáner o teclado no está (%(fault)s).",
    "Plug it into the gateway's USB. Compare the configuration's device with /dev/input/by-id.": (
        "Conéctelo al USB de la pasarela. Compare el dispositivo de la configuración con /dev/input/by-id."
    ),
    "Overlay": "Red superpuesta",
    "Overlay path": "Camino por la red superpuesta",
    "Records": "Registros",
    "Disk": "Disco",
    "Disk wear": "Desgaste del disco",
    "Power": "Alimentación",
    "Temperature": "Temperatura",
    "Camera": "Cámara",
    "Relay": "Relé",
    "Server": "Servidor",
    "the agent isn't connected to it": "el agente no está conectado a él",
    "The agent has been running for %(time)s.": "El agente funciona desde hace %(time)s.",
    "The agent doesn't answer: no gate opens.": "El agente no responde: no se abre ninguna puerta.",
    "Start it: systemctl start parkmesh-gateway. If it ends again: journalctl -u parkmesh-gateway -e.": (
        "Arránquelo: systemctl start parkmesh-gateway. Si vuelve a terminar: journalctl -u parkmesh-gateway -e."
    ),
    "It sends %(method)s %(path)s, which no camera has. Times: %(count)s.": (
        "Envía %(method)s %(path)s, que no es de ninguna cámara. Veces: %(count)s."
    ),
    "It sends %(method)s %(path)s with a wrong user or password. Times: %(count)s.": (
        "Envía %(method)s %(path)s con un usuario o una contraseña erróneos. Veces: %(count)s."
    ),
    "It sends %(method)s %(path)s and doesn't log in. Times: %(count)s.": (
        "Envía %(method)s %(path)s y no inicia sesión. Veces: %(count)s."
    ),
    "Encryption": "Cifrado",
    "Its messages can't be fetched (%(fault)s).": "No se pueden recoger sus mensajes (%(fault)s).",
    "Check its address and the account in the configuration. A camera locks an account for some time.": (
        "Compruebe su dirección y la cuenta en la configuración. Una cámara bloquea una cuenta durante un tiempo."
    ),
    "Its messages are fetched.": "Se recogen sus mensajes.",
    "No connection over TLS works (%(fault)s).": "No funciona ninguna conexión por TLS (%(fault)s).",
    "Run playbooks/deploy-gateways.yml for this gateway: it makes or brings the certificate.": (
        "Ejecute playbooks/deploy-gateways.yml para esta pasarela: crea o trae el certificado."
    ),
    "The certificate is read.": "El certificado se ha leído.",
    "It sends %(method)s %(path)s without TLS. Times: %(count)s.": (
        "Envía %(method)s %(path)s sin TLS. Veces: %(count)s."
    ),
    "Set the user and the password of the configuration's login on this device, with digest.": (
        "Ponga en este dispositivo el usuario y la contraseña de la configuración, con digest."
    ),
    "Set this device to HTTPS and to the port of TLS, or take tls from the configuration.": (
        "Ponga este dispositivo en HTTPS y en el puerto de TLS, o quite tls de la configuración."
    ),
    "Set this device to POST to /cameras/<name>/events of a camera of the configuration.": (
        "Haga que este aparato envíe por POST a /cameras/<nombre>/events de una cámara de la configuración."
    ),
    "The agent is connected to the broker.": "El agente está conectado al broker.",
    "The broker takes connections.": "El broker acepta conexiones.",
    "No message of a sensor arrives: %(fault)s.": "No llega ningún mensaje de los sensores: %(fault)s.",
    "Look at the broker: systemctl status mosquitto. Check its address and the agent's account in the configuration.": (
        "Mire el broker: systemctl status mosquitto. Compruebe su dirección y la cuenta del agente en la configuración."
    ),
    "It has counted %(entries)s in and %(exits)s out.": "Ha contado %(entries)s entradas y %(exits)s salidas.",
    "Its loops or light barriers are silent or offline: vehicles may be missed.": (
        "Sus lazos o barreras fotoeléctricas no hablan: puede que se pierdan vehículos."
    ),
    "Look at the power and the network of the device that has their inputs. Then correct the count.": (
        "Mire la alimentación y la red del equipo al que están conectados. Después corrija la cuenta."
    ),
    "Space %(space)s: nothing has come from its sensor for %(time)s.": (
        "Plaza %(space)s: no llega nada de su sensor desde hace %(time)s."
    ),
    "Change its battery. Look in the LoRaWAN server whether it is heard.": (
        "Cambie su pila. Mire en el servidor LoRaWAN si se le oye."
    ),
    "This can't be exchanged with a server: %(error)s.": "Esto no se puede intercambiar con un servidor: %(error)s.",
    "Gates go on by the list that is here, and records wait. Check the line and the servers.": (
        "Las puertas siguen con la lista de aquí, y los registros esperan. Compruebe la línea y los servidores."
    ),
    "No stream from a server: commands to open don't arrive.": (
        "Sin conexión continua con un servidor: las órdenes de abrir no llegan."
    ),
    "Wait a minute: servers end their streams when they are replaced. Then check the line.": (
        "Espere un minuto: los servidores la cortan cuando se sustituyen. Después compruebe la línea."
    ),
    "Connected to %(server)s.": "Conectada con %(server)s.",
    "It isn't known how the servers are reached: %(fault)s.": "No se sabe cómo se llega a los servidores: %(fault)s.",
    "Run this command as root.": "Ejecute parkmesh gateway doctor como root.",
    "The overlay's daemon reaches no root.": "El servicio de la red superpuesta no alcanza ninguna raíz.",
    "Check the line. The router must let UDP out to every port.": (
        "Compruebe la línea. El router debe dejar salir UDP a cualquier puerto."
    ),
    "The network's state is %(status)s.": "El estado de la red es %(status)s.",
    "Admit this member with playbooks/enroll-gateways.yml.": ("Admita este miembro con playbooks/enroll-gateways.yml."),
    "Reached directly.": "Se alcanza directamente.",
    "Reached through a relay: slower, and it may stop.": (
        "Se alcanza por un intermediario: más lento, y puede cortarse."
    ),
    "Let the router map UDP port 9993 (UPnP or a rule), or open UDP out. Docs: the overlay.": (
        "Haga que el router abra el puerto UDP 9993 (UPnP o una regla), o que deje salir UDP. Véase docs/overlay.md."
    ),
    "It isn't known whether the path is direct.": "No se sabe si el camino es directo.",
    "There is no access list: nobody is let in.": "No hay lista de acceso: no entra nadie.",
    "It comes with the first answer of a server. Check the line and the token.": (
        "Llega con la primera respuesta de un servidor. Compruebe la línea y el token."
    ),
    "The stored list is damaged: the gate goes on by its copy.": (
        "La lista guardada está dañada: la puerta sigue con su copia."
    ),
    "It mends itself with the next answer of a server. If it comes again, replace the disk.": (
        "Se arregla sola con la próxima respuesta de un servidor. Si vuelve a pasar, cambie el disco."
    ),
    "Version %(version)s, of unknown age.": "Versión %(version)s, de edad desconocida.",
    "Version %(version)s, %(time)s old.": "Versión %(version)s, de hace %(time)s.",
    "Version %(version)s. No server has confirmed it for %(time)s.": (
        "Versión %(version)s. Ningún servidor la ha confirmado desde hace %(time)s."
    ),
    "What was changed since isn't known here: new plates are refused, revoked ones open. Mend the line.": (
        "Aquí no se sabe lo que cambió desde entonces: las matrículas nuevas se deniegan, las revocadas abren. "
        "Arregle la línea."
    ),
    "The disk takes no records: they are in memory (%(fault)s).": (
        "El disco no acepta registros: están en memoria (%(fault)s)."
    ),
    "Don't switch it off. Make room on the disk, or replace it.": ("No la apague. Haga sitio en el disco, o cámbielo."),
    "%(count)s camera messages wait for a decision.": "%(count)s mensajes de cámaras esperan una decisión.",
    "Look at the relays and the disk: a gate waits for one of them.": (
        "Mire los relés y el disco: una puerta espera a uno de ellos."
    ),
    "%(count)s messages of the last 3 days couldn't be read.": (
        "%(count)s mensajes de los últimos 3 días no se pudieron leer."
    ),
    "Look at the kind of the camera or sensor in the configuration. The journal names the device.": (
        "Mire el tipo de la cámara o del sensor en la configuración. El diario nombra el aparato."
    ),
    "%(count)s records wait for a server.": "%(count)s registros esperan a un servidor.",
    "They are safe here. Mend the line; they then go by themselves.": (
        "Aquí están a salvo. Arregle la línea; después salen solos."
    ),
    "The clock is known to be wrong, and nobody has told the time.": (
        "Se sabe que el reloj está mal, y nadie ha dicho la hora."
    ),
    "Mend the line, or set the clock: timedatectl set-time. Nobody is refused for it meanwhile.": (
        "Arregle la línea, o ponga la hora: timedatectl set-time. Mientras tanto no se deniega a nadie por eso."
    ),
    "No server has told the time.": "Ningún servidor ha dicho la hora.",
    "The clock is %(time)s off the servers'.": "El reloj se desvía %(time)s del de los servidores.",
    "%(ms)s ms off the servers'.": "A %(ms)s ms del de los servidores.",
    "Look at chronyc sources. Name a time server in parking_gateway_time_servers.": (
        "Mire chronyc sources. Nombre un servidor de hora en parking_gateway_time_servers."
    ),
    "%(free)s of %(size)s are free.": "%(free)s de %(size)s libres.",
    "Make room: journalctl --vacuum-size=100M, apt-get clean.": (
        "Haga sitio: journalctl --vacuum-size=100M, apt-get clean."
    ),
    "The disk is worn: %(worn)s %% of its life, spare blocks: %(reserve)s.": (
        "El disco está gastado: %(worn)s %% de su vida, bloques de reserva: %(reserve)s."
    ),
    "Replace the computer or its memory soon. Records without a server are lost with it.": (
        "Cambie pronto el equipo o su memoria. Los registros que ningún servidor tiene se pierden con él."
    ),
    "%(worn)s %% of its life at most.": "%(worn)s %% de su vida como mucho.",
    "This disk doesn't tell its wear (SD cards don't).": (
        "Este disco no dice su desgaste (las tarjetas SD no lo dicen)."
    ),
    "The power is too weak now.": "La alimentación es demasiado débil ahora.",
    "The power was too weak since the start.": "La alimentación ha sido demasiado débil desde el arranque.",
    "The power is strong enough.": "La alimentación es suficiente.",
    "Use the power supply that belongs to the computer, and a short cable. Weak power damages cards.": (
        "Use la fuente propia del equipo y un cable corto. Una alimentación débil daña las tarjetas."
    ),
    "This computer doesn't tell its power.": "Este equipo no dice su alimentación.",
    "This computer doesn't tell its temperature.": "Este equipo no dice su temperatura.",
    "%(degrees)s °C: the computer slows down or will.": "%(degrees)s °C: el equipo se frena, o lo hará.",
    "Take it out of the sun, and let air reach it.": "Quítelo del sol y deje que le llegue el aire.",
    "%(degrees)s °C.": "%(degrees)s °C.",
    "It can't be reached at %(host)s (%(fault)s).": "No se alcanza en %(host)s (%(fault)s).",
    "Check its power, its cable and the switch. Look whether it has got another address.": (
        "Compruebe su alimentación, su cable y el conmutador. Mire si ha recibido otra dirección."
    ),
    "It has sent nothing since the agent started %(time)s ago.": (
        "No ha enviado nada desde que el agente arrancó hace %(time)s."
    ),
    "Press its test button, or drive past it. It must post to %(address)s.": (
        "Pulse su botón de prueba, o pase por delante. Debe enviar a %(address)s."
    ),
    "Its clock is %(time)s off. The gateway allows for it, until the clock jumps.": (
        "Su reloj se desvía %(time)s. La pasarela lo tiene en cuenta, hasta que el reloj salte."
    ),
    "Set the camera's time server (NTP) to a router or server that it reaches.": (
        "Ponga como servidor de hora (NTP) de la cámara un router o servidor que alcance."
    ),
    "It has sent nothing for %(time)s.": "No ha enviado nada desde hace %(time)s.",
    "Look whether it reads plates, and whether it posts to %(address)s. Then press its test button.": (
        "Mire si lee matrículas, y si envía a %(address)s. Después pulse su botón de prueba."
    ),
    "It sent something %(time)s ago.": "Envió algo hace %(time)s.",
    "The relay takes connections.": "El relé acepta conexiones.",
    "The relay can't be reached: the barrier can't be opened (%(fault)s).": (
        "No se alcanza el relé: la barrera no se puede abrir (%(fault)s)."
    ),
    "Check its power, its cable or Wi-Fi. Look whether it has got another address.": (
        "Compruebe su alimentación, su cable o su Wi-Fi. Mire si ha recibido otra dirección."
    ),
    "It doesn't know this gateway's token.": "No conoce el token de esta pasarela.",
    "Run playbooks/apply-communities.yml: it tells the servers the token's digest.": (
        "Ejecute playbooks/apply-communities.yml: da a los servidores el resumen del token."
    ),
    "It doesn't answer (%(fault)s).": "No responde (%(fault)s).",
    "One server is enough. If none answers: check the line, the router and zerotier-cli status.": (
        "Basta un servidor. Si no responde ninguno: compruebe la línea, el router y zerotier-cli status."
    ),
    "It answers.": "Responde.",
}
